"""What every stage shares: config, records, cache files, sharding, masks, video, devices.

Knows no model and imports nothing of ours outside `stages.core`.
"""
