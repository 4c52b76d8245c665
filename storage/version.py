"""The version of Segue's server: the packages in this repository except the client."""

VERSION = "0.1.0"
