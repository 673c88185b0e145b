//! Single cases, each with the sentence of the contract that it is about.
