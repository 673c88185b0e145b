//! Lists, from a ruleset to what is found for an address, against a plain scan of all prefixes.
//! Neither kernel nor root is needed.

#[path = "lists/adversarial.rs"]
mod adversarial;
#[path = "lists/bounds.rs"]
mod bounds;
#[path = "lists/random.rs"]
mod random;
#[path = "lists/reference.rs"]
mod reference;
