//! The stages of judgement, a file each; [`order`] asks them one after the other, and each says
//! what it decides as an [`effect`].

pub mod arp;
pub mod bypass;
pub mod caught;
pub mod domains;
pub mod dynamic;
pub mod effect;
pub mod fast_path;
pub mod fragments;
pub mod limits;
pub mod lists;
pub mod order;
pub mod pace;
pub mod replies;
pub mod rules;
pub mod sent;
pub mod serve;
pub mod services;
pub mod syn_cookie;
pub mod tracking;
