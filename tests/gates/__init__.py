"""What every CUDA source must hold: its tests under the emulator, its instructions, its registers and shared memory."""
