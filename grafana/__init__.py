"""The dashboards: ``python -m grafana`` writes ``grafana/dashboards/*.json``; a test compares them."""
