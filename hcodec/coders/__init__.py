"""The room of coders: what a picture's levels, its lossless layer and chains of pictures look like on an ANS stack."""
