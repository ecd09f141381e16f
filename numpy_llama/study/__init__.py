"""What people look through: operation counts, benchmarks, pictures."""
