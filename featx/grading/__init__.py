"""The teacher's side: assignments are built; submissions rebuilt, run in a sandbox, marked and recorded."""
