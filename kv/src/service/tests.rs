mod double;
mod guard;
mod hostile;
mod life;
mod model;
mod rig;
mod rules;
