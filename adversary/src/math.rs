//! Linear algebra, lattices and learning, as far as attacks need them and nalgebra has them not.

pub mod echelon;
pub mod lll;
pub mod mlp;
pub mod ridge;
