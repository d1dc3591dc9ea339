//! Micro-benchmarks of Reeve's hot paths.
