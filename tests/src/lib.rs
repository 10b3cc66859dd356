//! What the tests of Sordino share.
