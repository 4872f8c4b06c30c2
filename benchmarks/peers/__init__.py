"""What the estimators are timed against, a file a family."""
