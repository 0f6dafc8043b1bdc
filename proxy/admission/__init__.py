"""Admission of workspaces: their webhooks, asked about what is written in them alone."""
