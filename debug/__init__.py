"""Looking at graphs and runs: drawings, summaries, memory pictures, profiles.  Imported when asked for only."""
