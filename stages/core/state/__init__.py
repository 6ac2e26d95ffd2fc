"""What is stored between runs: cache files with stamps, and the graph of the stages that make them."""
