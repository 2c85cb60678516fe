"""Bills of materials: what a set is made of, in SPDX 2.3 and CycloneDX 1.6, and what its licences ask for."""
