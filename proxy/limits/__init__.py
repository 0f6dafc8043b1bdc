"""What a workspace may take of what all share: fair queuing, bounds, and how much of them is taken."""
