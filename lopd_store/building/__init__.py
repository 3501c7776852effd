"""Long jobs that survive `kill -9`: a plan, chunks done on disk, then one published artifact."""
