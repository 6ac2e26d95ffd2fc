"""How a stage runs: command line, shards, devices, the loop over videos."""
