"""What the estimators are timed against."""
