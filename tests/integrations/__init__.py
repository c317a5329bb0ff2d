"""Other programs on aqrec stores."""
