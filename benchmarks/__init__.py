"""What the engine costs and what it promises under overload, measured."""
