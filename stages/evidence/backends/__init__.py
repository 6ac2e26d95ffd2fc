"""Who answers: one file per way of running a model."""
