"""Thrift's compact protocol: columns of values as bytes, and the structs made of them."""
