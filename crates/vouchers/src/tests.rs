mod corpus;
mod issue;
mod unlinkable;
mod vectors;
mod verify;
