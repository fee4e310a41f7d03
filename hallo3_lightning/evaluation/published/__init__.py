"""Metrics that other projects report too, one file each: `published_metric.metric` finds them by protocol id."""
