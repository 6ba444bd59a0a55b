"""A CUDA device that is not there: `torch.cuda` on CPU tensors, with the order of all work watched.

Within :func:`tests.fake_cuda.install.fake_cuda` tensors can be "on" a GPU: their `device`, `is_cuda` and so on say so,
while their memory is the host's. Kernels run at once, but of each is written down on which stream it was launched, what
it reads and what it writes. What comes before what follows from streams, events and waits alone (order.py), so that
whatever a GPU might have done in another order is reported, not only what went wrong this time.

Not PyTorch's PrivateUse1: its tensors are on "privateuseone", and every line to be tried asks for "cuda" or `is_cuda`.
"""
