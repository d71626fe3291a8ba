mod batches;
mod life;
mod one_by_one;
mod rig;
