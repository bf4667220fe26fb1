"""Pure rules of the ledger: lines, signatures, verification."""
