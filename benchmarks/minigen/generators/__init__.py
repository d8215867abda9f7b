"""The five generators, each trained from nothing on CIFAR-10's train images."""

from benchmarks.minigen.generators import dcgan, flow, upgan, vae, vqgan
from benchmarks.minigen.generators.interface import Generator, Request

GENERATORS: dict[str, Generator] = {
    module.GENERATOR.name: module.GENERATOR for module in (vae, dcgan, upgan, flow, vqgan)
}

__all__ = ["GENERATORS", "Generator", "Request"]
