//! A node of betanet's fog: takes copies of tasks, runs them in a sandbox, returns signed receipts.
