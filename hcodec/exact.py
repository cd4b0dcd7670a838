from dataclasses import dataclass
class LosslessCode: pass
def exact_layers(*a): raise NotImplementedError
def exact_pixels(decoder, rectangle, strict):
    return None
