"""The estimators against what others offer for the same."""
