"""The entrypoint: it listens, accepts connections and stops on signals."""
