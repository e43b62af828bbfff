//! The text that the embedded base model is made from.
//!
//! No text of the world is used: everything is written by the tables and small grammars of this module, so that a
//! seed rebuilds the base exactly. Read in this order:
//!
//! - [`lexicon`]: the 32 domains with their verbs, nouns and argument keys, and which tool families are held out;
//! - [`values`]: argument values, of which most are pseudo-words that occur nowhere else;
//! - [`writer`]: from a task specification to a question, a menu and the right calls;
//! - [`habits`]: the wrong habits that the solver half of the text teaches on purpose;
//! - [`corpus`]: training documents, numbered, each a function of the seed and its number;
//! - [`exam`]: the held-out sets;
//! - [`tokenizer`] and [`train`]: the base model itself.

pub mod corpus;
pub mod exam;
pub mod habits;
pub mod lexicon;
pub mod tokenizer;
pub mod train;
pub mod values;
pub mod writer;
