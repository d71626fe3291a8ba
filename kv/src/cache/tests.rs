mod batches;
mod comeback;
mod liar;
mod life;
mod one_by_one;
mod rig;
