mod batches;
mod comeback;
mod direct;
mod liar;
mod life;
mod one_by_one;
mod races;
mod rig;
