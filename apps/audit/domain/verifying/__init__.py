"""Reading an export over again, with nothing but the file and the public key. Pure.

What may have happened to a file, and how it is found:

* edited: the line's hash is not the line's; or, when the hash was made anew as well, the next line
  carries another one; or, when every later hash was made anew, the checkpoint does not fit.
* taken out, put in, moved: the positions do not count up one by one.
* cut off: the last line is not the signed end; or a checkpoint kept elsewhere lies behind it.
"""
