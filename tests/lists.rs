//! Lists, from a ruleset to what is found for an address or a domain name, against a plain scan of
//! all that is listed. Neither kernel nor root is needed.

#[path = "lists/adversarial.rs"]
mod adversarial;
#[path = "lists/bounds.rs"]
mod bounds;
#[path = "lists/names.rs"]
mod names;
#[path = "lists/names_reference.rs"]
mod names_reference;
#[path = "lists/random.rs"]
mod random;
#[path = "lists/reference.rs"]
mod reference;
