"""Cases of the library's conformance to torch: tables, the maker of their references, and how one is run."""
