"""What each benchmark runs and how its page shows it: one module a name, which holds a `BENCHMARK`."""
