"""`spanserve new`: a project that passes its own tests, made of the templates beside this file."""
