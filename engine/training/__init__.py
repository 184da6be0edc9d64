"""The pipelines that make and adapt models, with their data and their metrics."""
