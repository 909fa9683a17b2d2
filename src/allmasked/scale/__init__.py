"""Past one machine: photos at addresses (``s3://`` and others), answers as shards, Ray as the engine."""
