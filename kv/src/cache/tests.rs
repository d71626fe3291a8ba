mod batches;
mod liar;
mod life;
mod one_by_one;
mod rig;
