"""The teacher's side: assignments are built, checked for drift, and marked."""
