mod ends;
mod fork;
mod growth;
mod handshake;
mod hostile;
mod requests;
mod scripted;
mod slots;
