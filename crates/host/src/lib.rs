//! What a machine is and what its sensors read, for betanet's fog workers: cores, memory, disk, devices, power, temperature, users.
