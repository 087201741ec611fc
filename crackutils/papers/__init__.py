"""The papers' figures, their audit, and what notebooks show of the records."""
