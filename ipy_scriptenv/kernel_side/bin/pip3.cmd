@"%VIRTUAL_ENV%\Scripts\python.exe" -I "%~dp0..\tools.py" pip %*
